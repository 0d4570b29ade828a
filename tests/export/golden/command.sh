# study: h100 chat
# trial: 3
# measured: 2026-11-22 13:00 UTC
# tuner: X
# vLLM: 0.32.0
# GPU: 2 x NVIDIA H100 80GB HBM3, driver 550.1
# model: deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B
# gain: verified: +28.3 % [+20.0, +36.6] over vLLM's defaults in output_throughput, mean of 4 new launches of it and 3 of the defaults
VLLM_ATTENTION='a $HOME' OMP_NUM_THREADS=1 /opt/engine/bin/vllm serve deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B --tensor-parallel-size 2 --max-num-seqs 512 --no-enable-prefix-caching --kv-cache-dtype fp8 --compilation-config.cudagraph_mode FULL --hf-overrides.text 'costs $5, 100%' --host 127.0.0.1 --port 8000
