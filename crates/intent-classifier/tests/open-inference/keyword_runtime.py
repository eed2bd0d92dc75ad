"""A runtime for MLServer that finds intents by keywords: small enough to know by heart what it must answer."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse
import numpy

KEYWORDS = {"refund": ["refund", "money"], "delivery": ["parcel", "where"], "greeting": ["hello", "morning"]}


def logits(text):
    words = text.lower().split()
    return [2.0 * sum(word in words for word in keywords) for keywords in KEYWORDS.values()]


class KeywordRuntime(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        texts = StringCodec.decode_input(next(item for item in payload.inputs if item.name == "text"))
        if "fail" in texts:
            raise RuntimeError("scripted failure")
        rows = numpy.array([logits(text) for text in texts], dtype=numpy.float32)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("labels", list(KEYWORDS), use_bytes=False),
                NumpyCodec.encode_output("logits", rows),
            ],
        )
