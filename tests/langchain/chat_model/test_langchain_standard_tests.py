"""LangChain's own suite for chat models, on a guarded model."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests

from costguard_core import CostGuard
from langchain_costguard import ExactCache, GuardedChatModel


class TestGuardedChatModel(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return GuardedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": ChatOpenAI(model="gpt-4o-mini", api_key="simulated", base_url="http://127.0.0.1:9/v1"),
            "guard": CostGuard(["$1/day"]),
            "cache": ExactCache(),
        }
