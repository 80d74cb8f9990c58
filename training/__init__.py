"""How Quartet's weights are made: corpora, readers, recipes, the trainer and its evaluation."""
