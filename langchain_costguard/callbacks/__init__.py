"""Metering and refusing through LangChain's callbacks."""
