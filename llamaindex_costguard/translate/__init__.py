"""LlamaIndex's objects in the core's terms and back: messages, parameters, answers, identity, keys."""
