"""Networks and their texts: where weights and tokenizers are read from, and how they are kept."""
