"""The proxy: an endpoint that OpenAI's and Anthropic's clients of any language can be pointed at. It needs the extra
``proxy``."""
