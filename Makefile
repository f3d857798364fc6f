.DEFAULT_GOAL := help
.PHONY: help check format test lint slow

help: ## Show this help.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

check: ## What CI runs: formatter, linters, types, room contracts, tests.
	uv run ruff format --check
	uv run ruff check
	uv run mypy
	uv run lint-imports
	uv run pytest

format: ## Format and mend what can be mended.
	uv run ruff format
	uv run ruff check --fix

lint: ## Everything of check but the tests.
	uv run ruff format --check
	uv run ruff check
	uv run mypy
	uv run lint-imports

test: ## The tests, slow ones included.
	uv run pytest
