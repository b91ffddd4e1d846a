"""How measures call the fitted method: checked predictions of the test images, and one image at a time."""
