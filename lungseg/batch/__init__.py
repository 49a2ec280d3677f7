"""Process a folder of images: skip what is done, run worker processes, write reports."""
