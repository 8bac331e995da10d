"""Completion of what is hidden in a frame from frames in which it is seen, along optical flow.

A Gaussian that is hidden in a frame has no gradient there: the field may do anything to it, and what is drawn inside of
masks that change from frame to frame is far worse than what is around them. Pixels that the motion around a mask leads
to known pixels of other frames are therefore trained on as if they were seen (flow-guided completion: Xu et al. 2019,
arXiv 1905.02884). Decision 0027 has what that is worth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stgvcodec.fit.optical_flow import optical_flow, warped_by

# Flow is estimated on pictures whose shorter side has about _SHORT_SIDE pixels, for so many pairs of frames at a time.
_SHORT_SIDE = 320
_BATCH = {"cpu": 4, "cuda": 16}
# A sample between pixels is known if pixels that are not have less than a hundredth of it.
_KNOWN_SHARE = 0.99
# Flow between two frames is trusted if what it leaves of the known pixels is less than this share of their variance.
_UNEXPLAINED = 0.5


@torch.no_grad()
def completed(frames: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Fill pixels that are not known from the frames before and after, where motion leads to known pixels there.

    A pixel takes the mean of both frames, or the colour of the one in which it is known. What is filled counts as known
    for the frames beside it, again and again until nothing more is filled: what is hidden in many frames in a row comes
    from the nearest in which it is seen. Places that are hidden in every frame keep the smooth colours that they have
    where motion does not fill them, and count as known too, but for frames of which nothing is known.

    Args:
        frames: RGB, smooth where it is not known, as `media.masks.filled` makes it. [T, H, W, 3] uint8.
        known: Pixels that are known. [T, H, W] bool.

    Returns:
        The frames with what is filled, and the pixels that count as known now; the others are as they were.
    """
    factor = max(1, round(min(frames.shape[1:3]) / _SHORT_SIDE))
    flows = _flows(frames, known, factor)
    is_never_seen = known.any(dim=0).logical_not() & known.flatten(1).any(dim=1)[:, None, None]  # [T, H, W]
    frames, known = (each.clone(memory_format=torch.contiguous_format) for each in (frames, known))
    is_done = False
    while not is_done:
        # Every frame is filled from what was known before, so that their order plays no part.
        fills = [(t, *_fill(frames, known, t, flow_to, factor)) for t, flow_to in flows.items()]
        for t, pixels, colors in fills:
            frames[t].view(-1, 3)[pixels] = colors
            known[t].view(-1)[pixels] = True
        is_done = not any(len(pixels) for _, pixels, _ in fills)
    return frames, known | is_never_seen


def _flows(frames: Tensor, known: Tensor, factor: int) -> dict[int, dict[int, Tensor]]:
    """Estimate flow from each frame that is not whole to those beside it, on pictures that are `factor` times smaller.

    Returns:
        Frame -> frame beside it -> flow, for pairs whose flow is trusted. [2, h, w] each.
    """
    n_frames = len(frames)
    is_whole = known.flatten(1).all(dim=1).tolist()
    pairs = [(t, s) for t in range(n_frames) for s in (t - 1, t + 1) if not is_whole[t] and 0 <= s < n_frames]
    batch = _BATCH[frames.device.type]
    flows: dict[int, dict[int, Tensor]] = {t: {} for t, _ in pairs}
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        before, after = ([pair[i] for pair in part] for i in (0, 1))
        a, b = (avg_pool2d(frames[each].float().mean(dim=3)[:, None] / 255.0, factor) for each in (before, after))
        known_a, known_b = (avg_pool2d(known[each].float()[:, None], factor) for each in (before, after))
        found = optical_flow(a, b, (known_a, known_b))
        trusted = _unexplained(a, b, known_a, known_b, found).lt(_UNEXPLAINED).tolist()
        for (t, s), flow, is_trusted in zip(part, found, trusted, strict=True):
            if is_trusted:
                flows[t][s] = flow
    return flows


def _unexplained(a: Tensor, b: Tensor, known_a: Tensor, known_b: Tensor, flow: Tensor) -> Tensor:
    """Return the share of the variance of known pixels that flow does not explain; nan where none is known. [P]."""
    warped, is_inside = warped_by(flow, b)
    weight = torch.minimum(known_a, warped_by(flow, known_b)[0]) * is_inside
    weight = weight / weight.sum(dim=(1, 2, 3), keepdim=True)
    mean = (weight * a).sum(dim=(1, 2, 3), keepdim=True)
    error, variance = ((weight * (a - other).square()).sum(dim=(1, 2, 3)) for other in (warped, mean))
    return error / variance


def _fill(frames: Tensor, known: Tensor, t: int, flow_to: dict[int, Tensor], factor: int) -> tuple[Tensor, Tensor]:
    """Find the pixels of frame t that can be filled now, and their colours.

    Returns:
        The pixels, numbered row by row [P] int64, and their colours [P, 3] uint8.
    """
    height, width = known.shape[1:]
    hidden = known[t].view(-1).logical_not().nonzero()[:, 0]
    size = torch.tensor([width, height], device=frames.device)
    points = torch.stack((hidden % width, hidden // width), dim=1) + 0.5
    total = torch.zeros(len(hidden), 3, device=frames.device)
    count = torch.zeros(len(hidden), 1, device=frames.device)
    for s, flow in flow_to.items():
        there = points + factor * _sampled(flow.permute(1, 2, 0), points / factor)
        is_inside = ((there >= 0) & (there <= size)).all(dim=1, keepdim=True)
        is_known = ((_sampled(known[s][..., None], there) > _KNOWN_SHARE) & is_inside).float()
        total += is_known * _sampled(frames[s], there)
        count += is_known
    can = count[:, 0] > 0
    return hidden[can], (total[can] / count[can]).round().to(torch.uint8)


def _sampled(picture: Tensor, px: Tensor) -> Tensor:
    """Interpolate a picture [h, w, C] linearly at positions (x, y), pixels. [P, 2] -> [P, C] float32."""
    height, width, _ = picture.shape
    last = torch.tensor([width - 1, height - 1], device=picture.device)
    at = torch.minimum((px - 0.5).clamp_min(0.0), last)
    low = at.long()
    high = torch.minimum(low + 1, last)
    share = at - low
    above, below = (
        torch.lerp(picture[y, low[:, 0]].float(), picture[y, high[:, 0]].float(), share[:, :1])
        for y in (low[:, 1], high[:, 1])
    )
    return torch.lerp(above, below, share[:, 1:])
