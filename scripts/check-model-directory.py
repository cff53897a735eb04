"""Does stock transformers read a model directory, and does it agree with given log-probs?

    python scripts/check-model-directory.py MODEL_DIRECTORY [EXPECTED.json] [--tolerance 1e-4]

EXPECTED.json: one object or a list of {"ids": [n ids], "logprobs": [k numbers]}, 1 <= k <= n - 1: the log-probs of the
LAST k ids, each given all ids before it (k = n - 1: of every id but the first).
Loads with AutoModelForCausalLM in fp32 and AutoTokenizer, forbids the network, prints one JSON line
{"architecture", "parameters", "storedDtype", "vocabSize", "tokenizerSize", "eosTokenId", "chatTemplate", "unexpected",
"missing", "compared", "maxDifference"} (the last two null without EXPECTED.json; maxDifference also when it is NaN).
Exit status: 0 all well; 1 cannot be loaded, weights missing or left over, or a log-prob off by more than the tolerance;
2 usage; 3 torch or transformers is not installed (so that a caller may skip, and say so).
"""

import argparse
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
except ImportError as error:
    print(f"check-model-directory: needs Python packages torch and transformers: {error}", file=sys.stderr)
    sys.exit(3)


@torch.no_grad()
def largest_difference(model, cases: list[dict]) -> tuple[int, float]:
    count, largest = 0, 0.0
    for number, case in enumerate(cases):
        ids, expected = torch.tensor(case["ids"]), torch.tensor(case["logprobs"], dtype=torch.float64)
        if not 1 <= len(expected) <= len(ids) - 1:
            raise ValueError(f"case {number}: {len(ids)} ids need 1 to {len(ids) - 1} logprobs, got {len(expected)}")
        scores = model(ids[None, :-1]).logits[0].log_softmax(-1)
        actual = scores.gather(-1, ids[1:, None])[-len(expected) :, 0].double()
        difference = (actual - expected).abs().max().item()
        largest = difference if difference != difference else max(largest, difference)  # NaN stays
        count += len(expected)
        if largest != largest:
            break
    return count, largest


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("expected", nargs="?")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    logging.disable_progress_bar()
    difference = None
    try:
        tokenizer = AutoTokenizer.from_pretrained(args.directory)
        model, info = AutoModelForCausalLM.from_pretrained(
            args.directory, dtype=torch.float32, output_loading_info=True
        )
        with open(os.path.join(args.directory, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        model.eval()
        report = {
            "architecture": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "storedDtype": config.get("dtype", config.get("torch_dtype")),
            "vocabSize": model.config.vocab_size,
            "tokenizerSize": len(tokenizer),
            "eosTokenId": tokenizer.eos_token_id,
            "chatTemplate": tokenizer.chat_template is not None,
            "unexpected": sorted(info["unexpected_keys"]),
            "missing": sorted(info["missing_keys"]),
            "compared": None,
            "maxDifference": None,
        }
        if args.expected is not None:
            with open(args.expected, encoding="utf-8") as file:
                cases = json.load(file)
            cases = cases if isinstance(cases, list) else [cases]
            report["compared"], difference = largest_difference(model, cases)
            report["maxDifference"] = difference if difference == difference else None  # JSON has no NaN
    except Exception as error:  # whatever stock transformers objects to is the answer
        print(f"check-model-directory: {args.directory}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    if report["unexpected"] or report["missing"]:
        print("check-model-directory: weights missing or left over", file=sys.stderr)
        return 1
    if difference is not None and not difference <= args.tolerance:
        print(f"check-model-directory: log-probs differ by {difference}, more than {args.tolerance}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
