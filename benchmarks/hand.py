"""Training as PyTorch's own tutorials write it: what every figure of overhead.py is measured against."""


def train(model, loader, loss_fn, optimizer, device, epochs):
    """Trains ``model`` by hand."""
    model.train()
    for _ in range(epochs):
        for inputs, labels in loader:
            inputs, labels = inputs.to(device), labels.to(device)
            loss = loss_fn(model(inputs), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
