"""Images and masks: finding, indexing, augmenting and loading them."""
