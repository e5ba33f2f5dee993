"""Other words, same answer: scope, vetoes, evidence. Knows no framework, no vector store and no embedding model."""
