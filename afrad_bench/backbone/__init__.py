"""The frozen pretrained backbone: where its weights come from, its feature maps, and their cache."""
