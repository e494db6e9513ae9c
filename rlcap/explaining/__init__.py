"""What drove each word of a caption: which regions of the image, and what a transport reward brought together."""
