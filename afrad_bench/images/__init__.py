"""Image files on disk, ordered sets of images as methods see them, and synthetic defects planted on photographs."""
