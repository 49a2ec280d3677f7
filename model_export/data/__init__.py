"""Images and masks: where they come from, how they are indexed, changed at random and fed to the network."""
