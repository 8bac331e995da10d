"""Train a small network on an encoded video: python examples/training_loop.py VIDEO FOLDER [PRESET BPP].

The frames are decoded where the network is: nothing is copied from the host on a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import stgvcodec
from stgvcodec.integrations.clip_dataset import ClipDataset


def main(video: str, folder: str, preset: str = "fast", bpp: str = "0.2") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    encoded = Path(folder, "data.stgv")
    stgvcodec.encode(video, encoded, config=stgvcodec.EncodeConfig(preset=preset, bpp_target=float(bpp)))

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = ClipDataset([encoded], n_frames=2, device=device)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, shuffle=True)
    # It predicts the second frame of a clip from the first one.
    network = torch.nn.Conv2d(3, 3, 5, padding=2, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for epoch in range(2):
        losses = []
        for clips in loader:  # [B, 2, 3, H, W] uint8
            before, after = (clips / 255).unbind(1)
            loss = torch.nn.functional.mse_loss(network(before), after)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
