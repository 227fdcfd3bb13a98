"""The sizes of Llama 3.1 8B, as its configuration states them."""

from distillery_trainer.student.training_memory import ModelSizes

EIGHT_BILLION = ModelSizes(
    parameters=8_030_261_248,
    linear_parameters=6_979_321_856,
    linear_layers=224,
    inputs=1_245_184,
    outputs=1_376_256,
    norms=266_240,
    layers=32,
    hidden=4_096,
    intermediate=14_336,
    attention=4_096,
    heads=32,
    vocabulary=128_256,
    tied=False,
    softcapped=False,
)
