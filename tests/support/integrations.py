"""Models of the real integrations that talk to a server on this machine, by the name of the integration.

Each is given the server's root, the name of the model, and further settings of the integration's own.
"""

from __future__ import annotations

from typing import Any

KEY = "sk-very-secret-1234"
_AWS = {
    "aws_access_key_id": "x",
    "aws_secret_access_key": KEY,
    "region_name": "us-east-1",
}


def langchain_model(integration: str, url: str, model: str, **options: Any) -> Any:
    """A chat model of LangChain's."""
    match integration:
        case "openai":
            from langchain_openai import ChatOpenAI

            return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=KEY, max_retries=0, **options)
        case "openai, responses":
            return langchain_model("openai", url, model, use_responses_api=True, **options)
        case "azure_openai":
            from langchain_openai import AzureChatOpenAI

            where = {"azure_endpoint": url, "api_version": "2025-04-01-preview", "api_key": KEY}
            return AzureChatOpenAI(azure_deployment=model, max_retries=0, **where, **options)
        case "anthropic":
            from langchain_anthropic import ChatAnthropic

            return ChatAnthropic(model=model, base_url=url, api_key=KEY, max_retries=0, **options)
        case "google_genai":
            from langchain_google_genai import ChatGoogleGenerativeAI

            return ChatGoogleGenerativeAI(model=model, base_url=url, google_api_key=KEY, max_retries=1, **options)
        case "ollama":
            from langchain_ollama import ChatOllama

            return ChatOllama(model=model, base_url=url, **options)
        case "mistralai":
            from langchain_mistralai import ChatMistralAI

            return ChatMistralAI(model_name=model, endpoint=f"{url}/v1", api_key=KEY, max_retries=1, **options)
        case "groq":
            from langchain_groq import ChatGroq

            return ChatGroq(model=model, base_url=url, api_key=KEY, max_retries=0, **options)
        case "deepseek":
            from langchain_deepseek import ChatDeepSeek

            return ChatDeepSeek(model=model, base_url=f"{url}/v1", api_key=KEY, max_retries=0, **options)
        case "cohere":
            from langchain_cohere import ChatCohere

            return ChatCohere(model=model, base_url=url, cohere_api_key=KEY, **options)
        case "openrouter":
            from langchain_openrouter import ChatOpenRouter

            return ChatOpenRouter(model=model, base_url=f"{url}/v1", api_key=KEY, max_retries=0, **options)
        case "perplexity":
            from langchain_perplexity import ChatPerplexity

            made = ChatPerplexity(model=model, api_key=KEY, max_retries=0, **options)
            made.client.base_url = made.async_client.base_url = url  # its integration takes no address
            return made
        case "xai":
            from langchain_xai import ChatXAI

            return ChatXAI(model=model, xai_api_base=f"{url}/v1", api_key=KEY, max_retries=0, **options)
        case "bedrock_converse":
            from langchain_aws import ChatBedrockConverse

            return ChatBedrockConverse(model=model, endpoint_url=url, **_AWS, **options)
    raise ValueError(integration)


def llamaindex_llm(integration: str, url: str, model: str, **options: Any) -> Any:
    """An LLM of LlamaIndex's."""
    openai = {"model": model, "api_base": f"{url}/v1", "api_key": KEY, "max_retries": 0}
    match integration:
        case "openai":
            from llama_index.llms.openai import OpenAI

            return OpenAI(**openai, **options)
        case "openai, responses":
            from llama_index.llms.openai import OpenAIResponses

            return OpenAIResponses(**openai, **options)
        case "azure_openai":
            from llama_index.llms.azure_openai import AzureOpenAI

            where = {"azure_endpoint": url, "api_version": "2025-04-01-preview", "api_key": KEY}
            return AzureOpenAI(model=model, engine=model, max_retries=0, **where, **options)
        case "openai_like":
            from llama_index.llms.openai_like import OpenAILike

            return OpenAILike(**openai, is_chat_model=True, is_function_calling_model=True, **options)
        case "deepseek":
            from llama_index.llms.deepseek import DeepSeek

            return DeepSeek(**openai, **options)
        case "groq":
            from llama_index.llms.groq import Groq

            return Groq(**openai, **options)
        case "anthropic":
            from llama_index.llms.anthropic import Anthropic

            return Anthropic(model=model, base_url=url, api_key=KEY, max_retries=0, **options)
        case "google_genai":
            from llama_index.llms.google_genai import GoogleGenAI

            return GoogleGenAI(model=model, api_key=KEY, http_options={"base_url": url}, **options)
        case "ollama":
            from llama_index.llms.ollama import Ollama

            return Ollama(model=model, base_url=url, context_window=8000, **options)
        case "mistralai":
            from llama_index.llms.mistralai import MistralAI

            return MistralAI(model=model, endpoint=url, api_key=KEY, max_retries=0, **options)
        case "cohere":
            from llama_index.llms.cohere import Cohere

            made = Cohere(model=model, api_key=KEY, max_retries=1, **options)
            return _cohere_at(made, url)
        case "litellm":
            from llama_index.llms.litellm import LiteLLM

            return LiteLLM(model=f"openai/{model}", api_base=f"{url}/v1", api_key=KEY, max_retries=0, **options)
        case "bedrock_converse":
            from llama_index.llms.bedrock_converse import BedrockConverse

            return BedrockConverse(model=model, endpoint_url=url, max_retries=1, **_AWS, **options)
    raise ValueError(integration)


def _cohere_at(llm: Any, url: str) -> Any:
    """Its integration takes no address; Cohere's own clients do."""
    import cohere

    llm._client = cohere.Client(api_key=KEY, base_url=url)
    llm._aclient = cohere.AsyncClient(api_key=KEY, base_url=url)
    return llm


# A model of each that has a price, and whose names each integration accepts.
LANGCHAIN = {
    "openai": "gpt-4o-mini",
    "openai, responses": "gpt-5-mini",
    "azure_openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-4-5",
    "google_genai": "gemini-2.5-flash",
    "ollama": "llama3.1:8b",
    "mistralai": "mistral-large-latest",
    "groq": "llama-3.3-70b-versatile",
    "deepseek": "deepseek-chat",
    "cohere": "command-r-plus",
    "openrouter": "openai/gpt-4o-mini",
    "perplexity": "sonar",
    "xai": "grok-3",
    "bedrock_converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
LLAMAINDEX = {
    "openai": "gpt-4o-mini",
    "openai, responses": "gpt-5-mini",
    "azure_openai": "gpt-4o-mini",
    "openai_like": "gpt-4o-mini",
    "deepseek": "deepseek-chat",
    "groq": "llama-3.3-70b-versatile",
    "anthropic": "claude-sonnet-4-5",
    "google_genai": "gemini-2.5-flash",
    "ollama": "llama3.1:8b",
    "mistralai": "mistral-large-latest",
    "cohere": "command-r-plus",
    "litellm": "gpt-4o-mini",
    "bedrock_converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
