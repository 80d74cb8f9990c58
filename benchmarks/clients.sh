#!/bin/sh
# Real clients against a running server, one after the other.
#
#     benchmarks/clients.sh [base URL] [tokenizer's directory, for `vllm bench serve`]
#
# LangChain and LiteLLM get a virtual environment of their own, because their pins may not fit the server's; it and the
# Node package are kept in $QUARTET_CACHE/clients (about 1 GB). OPENAI_API_KEY is sent if it is set.
set -eu
cd "$(dirname "$0")/.."
url=${1:-http://127.0.0.1:8000/v1}
tokenizer=${2:-}
key=${OPENAI_API_KEY:-none}
python=${PYTHON:-.venv/bin/python}
cache=${QUARTET_CACHE:-$HOME/.cache/quartet}/clients
langchain="langchain-openai==1.7.4"
litellm="litellm[proxy]==1.108.7"
node="openai@6.49.0"

if [ ! -x "$cache/venv/bin/litellm" ]; then
    "$python" -m venv "$cache/venv"
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$cache/venv/bin/python" "$langchain" "$litellm"
    else
        "$cache/venv/bin/python" -m pip install --quiet "$langchain" "$litellm"
    fi
fi
[ -d "$cache/node/node_modules/openai" ] || npm install --silent --prefix "$cache/node" "$node"

# Small enough for an argument of a command.
picture=$("$python" -c "
import base64, io
from PIL import Image
image, file = Image.open('server/examples/cat.png').convert('RGB'), io.BytesIO()
image.thumbnail((160, 160))
image.save(file, 'PNG')
print('data:image/png;base64,' + base64.b64encode(file.getvalue()).decode())")
sound=$(base64 -w0 server/examples/seven.wav)
model=$("$python" -c "import openai, sys; print(openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2]).models.list().data[0].id)" "$url" "$key")

echo "server: $model at $url"
"$python" tests/clients/openai_python.py "$url" "$picture" "$sound" "$key"
NODE_PATH="$cache/node/node_modules" node tests/clients/openai_node.cjs "$url" "$picture" "$sound" "$key"
"$cache/venv/bin/python" tests/clients/langchain_chat.py "$url" "$picture" "$sound" "$key"
"$cache/venv/bin/python" tests/clients/litellm_proxy.py "$url" "$picture" "$sound" "$key"

printf 'curl: '
printf '{"model": "%s", "max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "%s"}}]}]}' "$model" "$picture" |
    curl --silent --fail-with-body "$url/chat/completions" --header "authorization: Bearer $key" \
        --header "content-type: application/json" --data @- |
    "$python" -c "import json, sys; print(json.load(sys.stdin)['usage'])"

if [ -n "$tokenizer" ]; then
    HF_HUB_OFFLINE=1 OPENAI_API_KEY="$key" "$python" tests/clients/vllm_bench.py \
        --backend openai-chat --base-url "${url%/v1}" --endpoint /v1/chat/completions --model "$model" \
        --tokenizer "$tokenizer" --dataset-name random-mm --num-prompts 8 --max-concurrency 2 \
        --random-input-len 16 --random-output-len 8 --random-mm-base-items-per-request 2 \
        --random-mm-limit-mm-per-prompt '{"image": 2, "video": 0}' \
        --random-mm-bucket-config '{(64, 64, 1): 1.0}' 2>/dev/null | sed -n '/Serving Benchmark Result/,$p'
fi
