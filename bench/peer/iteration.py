"""One SPIN-like iteration with the stock tools: transformers `generate`, then TRL's DPOTrainer. Prints one JSON line.

    python bench/peer/iteration.py --model DIR --data train.jsonl --prompts 32 --new-tokens 128 [--mode tuned] ...

What a careful user of those tools would run: sample answers of the model itself to the first N prompts (T=1, no top-p,
no top-k), pair them with the human answers (chosen = human, rejected = sampled), one DPO epoch (sigmoid loss = SPIN's
logistic loss) with RMSProp, save. `--mode shipped` keeps TRL's defaults (gradient checkpointing; reference log-probs in every
step from a second model); `--mode tuned` precomputes the reference and does not checkpoint.
README.md beside this file says how to install and what every field of the output means.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", required=True, help="model directory with tokenizer and chat template")
    parser.add_argument("--gguf", help="GGUF file in it; converted to safetensors first, outside of the measured time")
    parser.add_argument("--data", required=True, help='JSON lines of {"question", "answer"}')
    parser.add_argument("--out", help="folder for the trained model (default: a temporary one, deleted)")
    parser.add_argument("--prompts", type=int, default=32, help="the first N rows of the data")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--generate-batch", type=int, default=16)
    parser.add_argument("--train-batch", type=int, default=8, help="pairs a step")
    parser.add_argument("--mode", choices=["shipped", "tuned"], default="shipped")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=5e-7)
    parser.add_argument("--max-length", type=int, default=1024, help="an error if a pair is longer, never a truncation")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


ARGS = arguments()
os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)  # read when torch is imported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # this is a CPU measurement

import datasets  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

torch.set_num_threads(ARGS.threads)
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}[ARGS.dtype]


def peak_rss_gb() -> float:
    """The process's largest resident set so far, in 10^9 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 2)


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


class Stopwatch:
    """Wall-clock seconds and peak memory per named stage."""

    def __init__(self):
        self.seconds, self.peaks = {}, {}

    def __call__(self, name: str, work):
        start = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self.peaks[name] = peak_rss_gb()
        print(f"{name}: {self.seconds[name]:.1f} s, peak {self.peaks[name]} GB", file=sys.stderr, flush=True)
        return result


def convert(folder: str) -> str:
    """The GGUF file as a plain fp32 safetensors directory: TRL loads its reference model by path."""
    model = AutoModelForCausalLM.from_pretrained(ARGS.model, gguf_file=ARGS.gguf, dtype=torch.float32)
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(ARGS.model), dtype=torch.float32)
    plain.load_state_dict(model.state_dict())  # transformers refuses to save what it loaded from GGUF
    plain.generation_config = model.generation_config
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(ARGS.model).save_pretrained(folder)
    return folder


def load(folder: str):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPE), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def generate(model, tokenizer, questions: list[str]) -> tuple[list[list[int]], int]:
    """One sampled answer per question: its ids up to and with the first end id; and the number of prompt tokens."""
    torch.manual_seed(ARGS.seed)
    model.eval()
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    answers, prompt_tokens = [], 0
    for start in range(0, len(questions), ARGS.generate_batch):
        batch = tokenizer.apply_chat_template(
            [[{"role": "user", "content": q}] for q in questions[start : start + ARGS.generate_batch]],
            add_generation_prompt=True,
            padding=True,
            padding_side="left",
            return_dict=True,
            return_tensors="pt",
        )
        prompt_tokens += int(batch["attention_mask"].sum())
        out = model.generate(
            **batch, do_sample=True, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=ARGS.new_tokens
        )
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            stop = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
            answers.append(row[:stop])
    return answers, prompt_tokens


def trainer_for(model, tokenizer, rows: list[dict], texts: list[str], folder: str) -> trl.DPOTrainer:
    tuned = {"precompute_ref_log_probs": True, "gradient_checkpointing": False} if ARGS.mode == "tuned" else {}
    config = trl.DPOConfig(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=ARGS.train_batch,
        optim="rmsprop",
        learning_rate=ARGS.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,  # below 1: a share of all steps
        beta=ARGS.beta,
        max_length=ARGS.max_length,
        bf16=ARGS.dtype == "bf16",
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        seed=ARGS.seed,
        **tuned,
    )
    data = datasets.Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["question"]}],
                "chosen": [{"role": "assistant", "content": row["answer"]}],
                "rejected": [{"role": "assistant", "content": text}],
            }
            for row, text in zip(rows, texts)
        ]
    )
    return trl.DPOTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def main() -> None:
    rows = [json.loads(line) for line in Path(ARGS.data).read_text().splitlines()[: ARGS.prompts]]
    if len(rows) < ARGS.prompts:
        sys.exit(f"{ARGS.data}: {len(rows)} rows, fewer than --prompts {ARGS.prompts}")
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as temporary:
        folder = watch("convert", lambda: convert(f"{temporary}/start")) if ARGS.gguf else ARGS.model
        out = ARGS.out or f"{temporary}/out"
        model, tokenizer = watch("load", lambda: load(folder))
        answers, prompt_tokens = watch("generate", lambda: generate(model, tokenizer, [r["question"] for r in rows]))
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in answers]
        # Tokenises; loads the reference model (shipped) or computes its log-probs (tuned).
        trainer = watch("setup", lambda: trainer_for(model, tokenizer, rows, texts, out))

        parts = ("prompt", "chosen", "rejected")
        tokenised = [{part: len(row[f"{part}_ids"]) for part in parts} for row in trainer.train_dataset]
        longest = max(row["prompt"] + max(row["chosen"], row["rejected"]) for row in tokenised)
        if longest > ARGS.max_length or len(tokenised) < len(rows):
            sys.exit(f"a pair has {longest} tokens: raise --max-length {ARGS.max_length}")
        padded = 0
        collate = trainer.data_collator

        def counting(examples):
            nonlocal padded
            batch = collate(examples)
            padded += batch["input_ids"].numel()
            return batch

        trainer.data_collator = counting
        with contextlib.redirect_stdout(sys.stderr):  # the trainer prints each step
            watch("train", trainer.train)
        watch("save", lambda: trainer.save_model(out))

    real_tokens = sum(len(tokenizer(row["answer"], add_special_tokens=False)["input_ids"]) + 1 for row in rows)
    generated_tokens = sum(len(ids) for ids in answers)
    truncated = sum(ids[-1] != tokenizer.eos_token_id for ids in answers)
    unique = prompt_tokens + real_tokens + generated_tokens
    seconds = watch.seconds
    measured = {name: seconds[name] for name in ("load", "generate", "setup", "train", "save")}
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    print(
        json.dumps(
            {
                "v": 1,
                "tool": "trl",
                "mode": ARGS.mode,
                "dtype": ARGS.dtype,
                "threads": ARGS.threads,
                "seed": ARGS.seed,
                "pairs": len(rows),
                "newTokens": ARGS.new_tokens,
                "generateBatch": ARGS.generate_batch,
                "trainBatch": ARGS.train_batch,
                "beta": ARGS.beta,
                "learningRate": ARGS.learning_rate,
                "seconds": measured | {"total": round(sum(measured.values()), 3)},
                "convertSeconds": seconds.get("convert"),
                "tokens": {
                    "prompt": prompt_tokens,
                    "real": real_tokens,
                    "generated": generated_tokens,
                    "unique": unique,
                    "truncatedAnswers": truncated,
                    "trainerUnpadded": sum(2 * row["prompt"] + row["chosen"] + row["rejected"] for row in tokenised),
                    "trainerPadded": padded,
                },
                "perSecond": {
                    "generated": round(generated_tokens / seconds["generate"], 1),
                    "trainUnique": round(unique / (seconds["setup"] + seconds["train"]), 1),
                },
                "steps": len(steps),
                "losses": [float(entry["loss"]) for entry in steps],
                "peakRssGb": watch.peaks["save"],
                "peakRssGbAfter": watch.peaks,
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "transformers": transformers.__version__,
                    "trl": trl.__version__,
                },
                "machine": {
                    "cpu": cpu_name(),
                    "cores": os.cpu_count(),
                    "capability": torch.backends.cpu.get_cpu_capability(),
                    "system": f"{platform.system()} {platform.machine()}",
                },
            }
        )
    )


main()
