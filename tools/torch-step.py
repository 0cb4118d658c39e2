"""
The peer of a float training step in tools/ebs-cost.mjs: ResNet-20 for 32x32 images (shortcuts without weights), SGD with momentum, in PyTorch on all cores.
Prints the median time and CPU time of a step in ms and the peak memory of the process in bytes: python3 tools/torch-step.py <batch> <steps>
"""
import json, os, resource, statistics, sys, time
import torch
from torch import nn
from torch.nn import functional as F

batch, steps = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(os.cpu_count())


class Block(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs)
        self.conv2, self.bn2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False), nn.BatchNorm2d(outs)
        self.stride, self.more = stride, (outs - ins) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = x if self.more == 0 else F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(y + short)


sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
net = nn.Sequential(
    nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *[Block(*s) for s in sizes],
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4)
images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
wall, cpu = [], []
for i in range(steps + 1):
    started, used = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()
    if i > 0:
        wall.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - used))
print(json.dumps({
    "weights": statistics.median(wall), "weightsCpu": statistics.median(cpu), "rss": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "version": torch.__version__,
}))
