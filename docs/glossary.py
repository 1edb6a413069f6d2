"""The glossary, English to Chinese and back: a page of the site."""

TERMS = [  # English, Chinese, what it is
    ("activation function", "激活函数", "the function f after the sum: tanh, σ, ReLU"),
    (
        "automatic differentiation",
        "自动微分",
        "derivatives of a program, exact, by the chain rule over what it computed",
    ),
    (
        "backpropagation",
        "反向传播",
        "reverse-mode differentiation: from the loss back to every weight",
    ),
    (
        "backpropagation through time (BPTT)",
        "随时间反向传播",
        "backpropagation over the unrolled graph of a recurrent network",
    ),
    ("batch", "批", "sequences that are computed side by side"),
    ("bias", "偏置", "the b of x W + b"),
    (
        "bidirectional network",
        "双向循环网络",
        "one pass forward and one backward over a sequence, merged",
    ),
    (
        "bits per character",
        "每字符比特数",
        "the mean of −log₂ of the probability given to the right character",
    ),
    ("candidate", "候选值", "what a gate lets into the state: g of an LSTM, h̃ of a GRU"),
    ("cell", "单元", "one step of a recurrence: from x and the state to the new state"),
    ("cell state", "细胞状态", "c of an LSTM, the path with no matrix on it"),
    ("chain rule", "链式法则", "the derivative of a composition is a product"),
    ("checkpoint (a file)", "检查点（文件）", "the weights and state of a run on disk"),
    (
        "checkpoint (of memory)",
        "检查点（内存）",
        "a state that is kept, between which the others are computed again",
    ),
    ("cotangent", "余切向量", "the gradient that arrives at a value in the backward pass"),
    ("cross-entropy", "交叉熵", "−log of the probability given to what was right"),
    ("derivative", "导数", "the slope; of several variables the Jacobian"),
    ("dropout", "随机失活", "units are 0 with probability p while training"),
    ("early stopping", "提前停止", "to end training when held-out costs no longer fall"),
    ("embedding", "嵌入", "a row of numbers for each symbol"),
    ("epoch", "轮", "once through the training data"),
    ("exploding gradient", "梯度爆炸", "gradients that grow with the number of steps"),
    ("forget gate", "遗忘门", "f of an LSTM: how much of c is kept"),
    ("forward mode", "前向模式", "derivatives carried along with the values"),
    ("forward pass", "前向传播", "computing the values"),
    ("gate", "门", "a number from 0 to 1, computed by the cell, that multiplies"),
    ("gated", "门控", "with gates: LSTM, GRU"),
    ("gradient", "梯度", "the derivative of the loss by a tensor, in its shape"),
    ("gradient clipping", "梯度裁剪", "to scale gradients down to a norm"),
    ("GRU", "门控循环单元", "gated recurrent unit: z and r"),
    ("hidden layer", "隐藏层", "a layer between input and output"),
    ("hidden state", "隐藏状态", "h(t), what the network carries from step to step"),
    ("input gate", "输入门", "i of an LSTM: how much of g goes in"),
    ("Jacobian", "雅可比矩阵", "the matrix of all partial derivatives"),
    ("learning rate", "学习率", "how far a step goes along the gradient"),
    ("loss", "损失", "the number that training makes small"),
    ("LSTM", "长短期记忆网络", "long short-term memory: c, h and the gates i, f, o"),
    ("mask", "掩码", "which steps or units count"),
    ("momentum", "动量", "a mean of past gradients that steps follow"),
    ("op", "算子", "a function with a rule for its derivative"),
    ("optimiser", "优化器", "what changes the weights by their gradients"),
    ("output gate", "输出门", "o of an LSTM: how much of c is shown"),
    ("overfitting", "过拟合", "to learn the training data and not what they have in common"),
    ("padding", "填充", "steps behind the end of a shorter sequence"),
    ("parameter", "参数", "a tensor that training changes"),
    (
        "real-time recurrent learning (RTRL)",
        "实时循环学习",
        "the exact gradient, carried forward in time",
    ),
    ("recurrent neural network (RNN)", "循环神经网络", "a network that reads its own last state"),
    ("regularisation", "正则化", "what keeps a network from overfitting"),
    ("reset gate", "重置门", "r of a GRU: how much of h the candidate reads"),
    ("residual", "残留值", "what the backward pass reads of the forward pass"),
    ("scan", "扫描", "a step folded over a sequence, as one op"),
    ("sequence", "序列", "values in order of time"),
    ("softmax", "softmax 函数", "eˣ / Σ eˣ: probabilities of numbers"),
    ("spectral radius", "谱半径", "the largest magnitude of an eigenvalue"),
    ("step", "步", "one time t of a recurrence; one change of the weights"),
    ("tape", "计算记录", "what an engine writes down to differentiate it later"),
    ("teacher forcing", "教师强制", "to feed the true last output while training"),
    ("tensor", "张量", "an array that remembers where it came from"),
    (
        "truncated backpropagation through time",
        "截断的随时间反向传播",
        "gradients that stop at the beginning of a window",
    ),
    ("unrolled graph", "展开图", "a recurrent network drawn with a column for each step"),
    ("update gate", "更新门", "z of a GRU: how much of the state is new"),
    ("validation", "验证", "to judge a model on data it was not trained on"),
    ("vanishing gradient", "梯度消失", "gradients that shrink with the number of steps"),
    ("weight", "权重", "a number that multiplies an input"),
    ("weight sharing", "权值共享", "the same weights at every step"),
    (
        "zoneout",
        "zoneout（状态保持）",
        "units that keep their last state, at random, while training",
    ),
]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows of words as Markdown."""
    every = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in every)


def pages() -> dict[str, str]:
    """The page, by its file. GBK numbers the usual characters by how they are pronounced."""
    back = sorted(((there, here) for here, there, _ in TERMS), key=lambda row: row[0].encode("gbk"))
    parts = [
        "# Glossary",
        table(("English", "中文", "what it is"), TERMS),
        "## 中文 – English",
        table(("中文", "English"), back),
    ]
    return {"glossary.md": "\n\n".join(parts) + "\n"}
