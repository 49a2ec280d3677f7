"""Reports on a trained model: scores on modified images, plots, the report page and the cards."""
