"""What a trained model is used for: embeddings, distances, explanations, predictions, an exported program."""
