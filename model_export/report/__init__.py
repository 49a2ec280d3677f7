"""What a trained model is worth: scores on harder images, pictures, the report and the cards."""
