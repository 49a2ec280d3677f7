"""A folder of images: which are done, the processes that do the others, and the reports on all of them."""
