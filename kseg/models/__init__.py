"""The network: a ResNet encoder, a transposed-convolution decoder, and one function that joins them."""
