"""Ask the built-in model a list of inputs, and score the replies: no key, no network.

nightsweep model download
python chat_sweep.py
"""

from engine import chat

sweep = chat(
    "capitals",
    models="smollm2-135m",
    system_prompts={"none": None, "brief": "Answer in one word."},
    inputs=[
        {"id": "france", "text": "What is the capital of France?", "expected": "Paris"},
        {"id": "japan", "text": "What is the capital of Japan?", "expected": "Tokyo"},
    ],
    temperatures=[0.0],
    max_tokens=[8],
    scorers=[{"kind": "contains", "ignore_case": True}],
)
run = sweep.run(store="capitals.db")

print(f"{run.status().cells_done} of {run.status().cells} cells answered")
for row in run.rows():
    print(row.labels["input"], row.labels["system_prompt"], row.failure_rate, row.values["reply"])
