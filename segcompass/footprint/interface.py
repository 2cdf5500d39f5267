"""Size and work of the concept interface of one variant, in the terms of its own settings; tests compare both with the modules.

Shape letters: T tokens of an answer, F concepts, a active ones a token, d language width, q query width, K slots, V vocabulary, C channels,
g side of SAM's image embedding, H heads of w channels.
"""

from dataclasses import dataclass

from segcompass.study.interface import ModelSettings


@dataclass(frozen=True)
class InterfaceSize:
    """Everything from which parameters and operations of an interface follow."""

    model: ModelSettings
    features: int
    """F."""
    active: int
    """a: F of a dense map."""
    width: int
    """d."""
    vocabulary: int
    """V, rows of the embedding matrix: at most a few more than there are token ids."""
    longest: int
    """Tokens of the longest thought."""
    channels: int
    """C."""
    grid: int
    """g."""

    @property
    def codebook(self) -> int:
        """Trained parameters of the query codebook: what is read as tokens, and what makes slots of them."""
        q, k, layers = self.model.query_width, self.model.slots, self.model.query_layers
        match self.model.readout:
            case "concepts":
                tokens = self.features * q
            case "words":
                tokens = (self.vocabulary + self.longest) * q
            case "references":
                tokens = self._perceptron * (self.width + q + 1) + q
        if self.model.codebook == "pooled":
            return tokens + 2 * q + self._pooled * (q + 1) + self._pooled * k * q + k * q
        return tokens + k * q + layers * (12 * q**2 + 13 * q) + 2 * q

    @property
    def mapper(self) -> int:
        """Trained parameters of the slot mapper: slot projection, fusion, image convolution, fusion of the heads' maps, confidence, and the
        constant where r_k is cut."""
        heads, fused = self.model.mapper_heads, self._fused
        projection = self.model.query_width * self.width + self.width
        fusion = 2 * 2 * self.width + 2 * self.width * fused + fused
        maps = 9 * heads * 4 * heads + 4 * heads + 9 * 4 * heads + 1 if self.model.mapper == "fused" else 0
        confidence = 64 * fused + 64 + 64 + 1
        constant = 0 if self.model.reference_state else self.model.slots * self.width
        return projection + fusion + self.channels * fused + fused + maps + confidence + constant

    @property
    def fitted(self) -> int:
        """Statistics that a checkpoint holds beside what is trained: mean of the reference states, mean and whitening of the embeddings."""
        return self.width + self.channels + self.channels**2

    def reading(self, length: int, dense: bool = False) -> float:
        """Operations of one answer of T tokens on its way to heat maps and confidences; `dense` multiplies codes with every row."""
        q, k = self.model.query_width, self.model.slots
        tokens = length
        match self.model.readout:
            case "concepts":
                made = 2.0 * (self.features if dense else self.active) * q * length
            case "words":
                made = 0.0
            case "references":
                made, tokens = 2.0 * self._perceptron * (self.width + q) * k, k
        return made + self._slots(tokens) + self._maps()

    def _slots(self, tokens: int) -> float:
        """Inner layers run over slots and tokens; of the last one only the slots ask."""
        q, k, layers = self.model.query_width, self.model.slots, self.model.query_layers
        if self.model.codebook == "pooled":
            return 2.0 * tokens * q + 2.0 * self._pooled * q * (1 + k)
        places = k + tokens
        inner = 24.0 * q**2 * places + 4.0 * places**2 * q
        return (layers - 1) * inner + 4.0 * q**2 * places + 20.0 * q**2 * k + 4.0 * k * places * q

    def _maps(self) -> float:
        q, k, heads, fused, cells = self.model.query_width, self.model.slots, self.model.mapper_heads, self._fused, self.grid**2
        queries = 2.0 * k * (q * self.width + 2 * self.width * fused)
        image = 2.0 * cells * (self.channels**2 + self.channels * fused)
        products = 2.0 * k * fused * cells
        convolutions = 2.0 * 9 * (heads * 4 * heads + 4 * heads) * cells * k if self.model.mapper == "fused" else 0.0
        enlarged = 2.0 * k * 4 * self.grid * (cells + 4 * cells)  # [4 g, g] times [g, g] times [g, 4 g]
        return queries + image + products + convolutions + enlarged + 2.0 * k * (64 * fused + 64)

    @property
    def _fused(self) -> int:
        return self.model.mapper_heads * self.model.mapper_head_width

    @property
    def _perceptron(self) -> int:
        """Hidden units of the read-out of reference states, which has as many parameters as the codebook has rows."""
        q = self.model.query_width
        return max(1, round((self.features * q - q) / (self.width + q + 1)))

    @property
    def _pooled(self) -> int:
        """Hidden units of the perceptron that stands in for the slots' encoder."""
        return max(1, round(12 * self.model.query_layers * self.model.query_width / (1 + self.model.slots)))
