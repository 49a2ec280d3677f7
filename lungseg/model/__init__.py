"""The two networks: their files, the cards in them, and the preprocessing that training shares."""
