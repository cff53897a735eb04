"""The plain step and the plain decoding of the stock tools on the bench's shape, for `npm run bench`. Prints JSON lines.

    python bench/peer/step.py --dtype bf16 --pairs PAIRS.json [--only train|decode] [--threads 2]

PAIRS.json is what bench/peers.ts writes: {"config", "pairs": [{"prompt", "real", "generated"}] of token ids, "newTokens"}.
The training step is what one writes without a framework: both answers of every pair as rows with their prompt, padded, one forward pass
of transformers' LlamaForCausalLM, log-probs of the response tokens, SPIN's logistic loss against given reference
log-probs, backward, clipping, RMSProp; weights, gradients and moments in the dtype. No checkpointing.
"""

import argparse
import json
import os
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--pairs", required=True)
parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
parser.add_argument("--only", choices=["train", "decode"])
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--batches", default="32")
parser.add_argument("--threads", type=int, default=2)
ARGS = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)  # read when torch is imported
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

torch.set_num_threads(ARGS.threads)
torch.manual_seed(0)
GIVEN = json.loads(Path(ARGS.pairs).read_text())
DTYPE = {"f32": torch.float32, "bf16": torch.bfloat16}[ARGS.dtype]
model = LlamaForCausalLM(LlamaConfig(**GIVEN["config"])).to(DTYPE)


def train() -> None:
    """Seconds of each step after one to warm up."""
    rows = [pair["prompt"] + pair[answer] for answer in ("real", "generated") for pair in GIVEN["pairs"]]
    starts = [len(pair["prompt"]) for _ in range(2) for pair in GIVEN["pairs"]]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    attended = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    answered = torch.tensor(
        [[float(start <= i < len(row)) for i in range(longest)] for row, start in zip(rows, starts, strict=True)]
    )[:, 1:]
    reference = (answered * -10.8).sum(-1)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-7)
    model.train()
    for step in range(ARGS.steps + 1):
        start = time.perf_counter()
        logits = model(input_ids=ids, attention_mask=attended, use_cache=False).logits[:, :-1]
        chosen = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        real, generated = ((chosen.float() * answered).sum(-1) - reference).chunk(2)
        loss = torch.nn.functional.softplus(-0.1 * (real - generated)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step > 0:
            print(json.dumps({"what": "train", "seconds": time.perf_counter() - start}), flush=True)


def decode(batch: int) -> None:
    """Seconds that `generate` takes for one token and for all of them: the difference is decoding."""
    prompts = [pair["prompt"] for pair in GIVEN["pairs"]]
    prompts = [prompts[i % len(prompts)] for i in range(batch)]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    attended = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    model.eval()
    for run in range(4):
        seconds = []
        for count in (1, GIVEN["newTokens"]):
            start = time.perf_counter()
            model.generate(
                input_ids=ids,
                attention_mask=attended,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                min_new_tokens=count,
                max_new_tokens=count,
                pad_token_id=0,
            )
            seconds.append(time.perf_counter() - start)
        if run > 0:
            rate = batch * (GIVEN["newTokens"] - 1) / (seconds[1] - seconds[0])
            print(json.dumps({"what": "decode", "batch": batch, "tokensPerSecond": rate}), flush=True)


if ARGS.only != "decode":
    train()
if ARGS.only != "train":
    for size in ARGS.batches.split(","):
        decode(int(size))
