"""TorchServe's side of `intent-classifier`: texts in, one logit per label out.

A request is `{"text": "..."}` as JSON. Its answer is `{"logits": {"LABEL": NUMBER, ...}, "truncated": false}`, and for one
that is no such request `{"error": "..."}` with status 400: its neighbours in the batch are answered all the same.
"""

import json
import os

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast


class IntentHandler:
    def initialize(self, context):
        # One thread for each worker; more workers use more cores better than more threads do.
        torch.set_num_threads(1)
        directory = context.system_properties["model_dir"]
        with open(os.path.join(directory, "serving.json"), encoding="utf-8") as file:
            serving = json.load(file)
        self.labels = serving["labels"]
        self.max_tokens = serving["max_tokens"]
        tokenizer = os.path.join(directory, "tokenizer.json")
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=tokenizer, pad_token=serving["pad_token"])
        self.model = AutoModelForSequenceClassification.from_pretrained(directory, local_files_only=True).eval()
        names = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]
        if names != self.labels:
            raise ValueError(f"the labels of config.json are {names}, expected {self.labels}")

    def handle(self, data, context):
        answers = [None] * len(data)
        texts = {}
        for index, request in enumerate(data):
            try:
                texts[index] = text_of(request)
            except ValueError as error:
                context.set_response_status(400, "Bad Request", index)
                answers[index] = {"error": str(error)}
        if texts:
            for index, answer in zip(texts, self.classify(list(texts.values()))):
                answers[index] = answer
        return answers

    def classify(self, texts):
        # What is cut off is returned as further rows, which tell that a text was too long.
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_tokens, return_overflowing_tokens=True)
        rows = {}
        for row, text in enumerate(encoded["overflow_to_sample_mapping"]):
            rows.setdefault(text, []).append(row)
        first = {key: [encoded[key][rows[text][0]] for text in rows] for key in ("input_ids", "attention_mask")}
        inputs = self.tokenizer.pad(first, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.tolist()
        return [
            {"logits": dict(zip(self.labels, values)), "truncated": len(rows[text]) > 1}
            for text, values in zip(rows, logits)
        ]


def text_of(request):
    """Returns the text of a request; TorchServe hands a JSON body over parsed, anything else as bytes."""
    body = request.get("body", request.get("data"))
    if isinstance(body, (bytes, bytearray)):
        try:
            body = json.loads(body)
        except ValueError:
            raise ValueError("the body is not JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        raise ValueError('expected {"text": "..."}')
    return body["text"]
