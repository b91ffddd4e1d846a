"""Image files on disk, ordered sets of images as methods see them, and defects planted on photographs."""
