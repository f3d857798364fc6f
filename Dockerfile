FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY agent_app ./agent_app
# No embedded server: a container is given a database.
RUN uv venv /opt/agent-app \
    && uv pip install --no-cache --python /opt/agent-app/bin/python .

FROM python:3.13-slim
RUN useradd --system --create-home --uid 10001 agents
COPY --from=build /opt/agent-app /opt/agent-app
ENV PATH=/opt/agent-app/bin:$PATH PYTHONUNBUFFERED=1
USER agents
WORKDIR /home/agents
# No HEALTHCHECK: only a worker with AGENT_APP_HEALTH_PORT answers one.
ENTRYPOINT ["agent-app"]
CMD ["worker"]
