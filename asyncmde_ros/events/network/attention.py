"""The decoder's layers: a query looks at tokens of its own, or at cells that all queries share."""

from torch import Tensor, nn

from asyncmde_ros.events.network.layers import EPS
from asyncmde_ros.network.dinov2 import Mlp


class CrossAttention(nn.Module):
    """Of one query each over tokens that were gathered for it (B2, B5).

    ``folded``: the keys and values of eqs. 7 and 22 are never computed.  A logit is
    q . (W_K t) = (W_K^T q) . t, and the mixture of W_V t is W_V of the mixture of t: two
    projections for each query instead of two for each of its 91 or 123 tokens, the same numbers
    but for rounding.  Not folded is how the document counts.

    Keys have no bias; see :class:`asyncmde_ros.events.network.precompute.Projections`.
    """

    folded = True

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Map queries (N, d) and their tokens (N, T, d) to (N, d)."""
        count, length, dim = tokens.shape
        split = (self.heads, dim // self.heads)
        q = (self.query(x) * self.scale).reshape(count, *split)             # (N, heads, d_h)
        if not self.folded:
            k, v = (layer(tokens).reshape(count, length, *split).transpose(1, 2)
                    for layer in (self.key, self.value))                    # (N, heads, T, d_h)
            weights = self.drop((k @ q[..., None])[..., 0].softmax(dim=-1))
            return self.out((weights[:, :, None] @ v).reshape(count, dim))
        key, value = (layer.weight.reshape(*split, dim) for layer in (self.key, self.value))
        q = (q.transpose(0, 1) @ key).transpose(0, 1)                       # (N, heads, d)
        weights = self.drop((q @ tokens.transpose(1, 2)).softmax(dim=-1))   # (N, heads, T)
        mixed = (weights @ tokens).transpose(0, 1)                          # (heads, N, d)
        mixed = (mixed @ value.transpose(1, 2)).transpose(0, 1).reshape(count, dim)
        return self.out(mixed + self.value.bias)


class SharedAttention(nn.Module):
    """Of all queries over the same cells, whose keys and values exist already (B3)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.query = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Map queries (B, K, d) and cells (B, T, d) to (B, K, d) and weights (B, heads, K, T).

        Dropout is not in the weights that are returned: they say where to look.
        """
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for part in (self.query(x) * self.scale, keys, values))  # (B, heads, ., d_h)
        weights = (q @ k.transpose(2, 3)).softmax(dim=-1)
        mixed = self.drop(weights) @ v                                      # (B, heads, K, d_h)
        return self.out(mixed.transpose(1, 2).flatten(2)), weights


class GatheredLayer(nn.Module):
    """Attention over a query's own tokens and a perceptron (eqs. 8-9, 23-24)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_q = nn.LayerNorm(dim, eps=EPS)
        self.attn = CrossAttention(dim, heads, dropout)
        self.norm_ff = nn.LayerNorm(dim, eps=EPS)
        self.ff = Mlp(dim)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        x = x + self.attn(self.norm_q(x), tokens)
        return x + self.ff(self.norm_ff(x))


class GatheredDecoder(nn.Module):
    """Some such layers in a row, which share one normalisation of the tokens: B2, and B5's."""

    def __init__(self, dim: int, heads: int, dropout: float, layers: int) -> None:
        super().__init__()
        self.norm_kv = nn.LayerNorm(dim, eps=EPS)
        self.layers = nn.ModuleList(GatheredLayer(dim, heads, dropout) for _ in range(layers))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Map queries (B, K, d) and tokens (B, K, T, d) to (B, K, d)."""
        flat, tokens = x.flatten(0, 1), self.norm_kv(tokens).flatten(0, 1)
        for layer in self.layers:
            flat = layer(flat, tokens)
        return flat.reshape(x.shape)


class SharedLayer(nn.Module):
    """Attention over shared cells and a perceptron (eqs. 10-11)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_q = nn.LayerNorm(dim, eps=EPS)
        self.attn = SharedAttention(dim, heads, dropout)
        self.norm_ff = nn.LayerNorm(dim, eps=EPS)
        self.ff = Mlp(dim)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        mixed, weights = self.attn(self.norm_q(x), keys, values)
        x = x + mixed
        return x + self.ff(self.norm_ff(x)), weights
