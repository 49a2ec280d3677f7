"""The models: their files, the cards in them, and the preprocessing that training shares."""
