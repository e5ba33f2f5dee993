"""Which language a text is in, and the words of English: shared by the rules about questions."""
