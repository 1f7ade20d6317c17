# A worker with both roles on a CPU: torch to build, ONNX Runtime to measure.
FROM python:3.11-slim
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY layerprune layerprune
COPY server server
COPY workers workers
COPY migrations migrations
RUN sed -e 's/ \\$//' -e '/^ *--hash/d' requirements.lock > /tmp/constraints.txt \
    && pip install --no-cache-dir -c /tmp/constraints.txt '.[build,onnxruntime]' \
    && useradd --create-home layerprune && install -d -o layerprune /data
USER layerprune
ENV LAYERPRUNE_DATA=/data
VOLUME /data
CMD ["layerprune", "worker", "--roles", "build,measure"]
