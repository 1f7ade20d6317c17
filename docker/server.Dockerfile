# The server: FastAPI, SQLAlchemy, the pages. It holds no torch, onnxruntime or tensorrt.
FROM python:3.11-slim
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY layerprune layerprune
COPY server server
COPY workers workers
COPY migrations migrations
# The lock's versions as constraints: only the packages of this extra are installed.
RUN sed -e 's/ \\$//' -e '/^ *--hash/d' requirements.lock > /tmp/constraints.txt \
    && pip install --no-cache-dir -c /tmp/constraints.txt '.[server]' \
    && useradd --create-home layerprune && install -d -o layerprune /data
USER layerprune
ENV LAYERPRUNE_DATA=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"
CMD ["layerprune", "serve", "--host", "0.0.0.0", "--port", "8000"]
