"""Closed trades as a training set: reading and checking them, and the features of the bars before each entry."""

from qtfeat.trades.dataset import TradeDataset, trade_dataset
from qtfeat.trades.read import COLUMNS, read_trades
from qtfeat.trades.table import Refused, Trades

__all__ = ["COLUMNS", "Refused", "TradeDataset", "Trades", "read_trades", "trade_dataset"]
