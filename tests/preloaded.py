"""What the project's commands import, so that processes forked from here begin with it."""

import diffusers
import pytorch_lightning
import timm
import torchmetrics
import transformers

import sip.classifier.train
import sip.jobs.generate
import sip.jobs.training
from tests import faster_hydra

_ = (
    *(diffusers.AutoencoderKL, diffusers.UNet2DConditionModel, diffusers.DDIMScheduler),
    *(transformers.BlipForConditionalGeneration, transformers.CLIPModel),
    *(transformers.CLIPTextModel, transformers.CLIPTokenizer, transformers.AutoProcessor),
    *(pytorch_lightning, timm, torchmetrics, sip),
)
faster_hydra.install()
