"""A method, a partial and a renamed function as tasks."""

from functools import partial

from langgraph.func import entrypoint, task


class Shop:
    def __init__(self, prices: dict) -> None:
        self.prices = prices

    def price(self, what: str) -> int:
        return self.prices[what]


price = task(Shop({"tea": 3}).price)
power = task(partial(pow, 2), name="power")


@task(name="with-tax")
def tax(amount: int) -> float:
    return amount * 1.5


@entrypoint()
def buy(what: str) -> list:
    return [tax(price(what).result()).result(), power(3).result()]


seen = list(buy.stream("tea", stream_mode="updates"))
expected = [{"price": 3}, {"with-tax": 4.5}, {"power": 8}, {"buy": [4.5, 8]}]
