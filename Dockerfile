# The app in a container, as an ordinary user:
#   docker build -t pdae-app .
#   docker run -p 7860:7860 pdae-app
# With a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t pdae-app .
#   docker run --gpus all -p 7860:7860 pdae-app
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home app
WORKDIR /home/app/pdae_app

COPY requirements.txt .
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
 && pip install --no-cache-dir -r requirements.txt

COPY . .
USER app
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE
EXPOSE 7860

# Deleting visitors' photographs takes up to 10 seconds after `docker stop`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
  CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/health', timeout=9)"
CMD ["python", "app.py"]
