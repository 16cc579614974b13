"""Uses of a trained model: embeddings, distances, explanations, predictions."""
