"""A month's budget: a mail when 80 % of it are spent, and when all of it is forecast."""

from __future__ import annotations

from aws_cdk import CfnParameter, Stack
from aws_cdk import aws_budgets as budgets
from constructs import Construct

from deployments.cloud.shape import Shape


class Budget(Stack):
    """The alarm; whom it reaches is a parameter. It counts what is tagged with the project's name."""

    def __init__(self, scope: Construct, shape: Shape, **stack: object) -> None:
        """Create the budget, in US dollars a month."""
        super().__init__(scope, "budget", stack_name=shape.name("budget"), **stack)
        mail = CfnParameter(self, "Mail", description="who is told").value_as_string
        kind = budgets.CfnBudget
        self.budget = kind(
            self,
            "month",
            budget=kind.BudgetDataProperty(
                budget_name=shape.name("month"),
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=kind.SpendProperty(amount=shape.budget_usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:project${shape.project}"]},
            ),
            notifications_with_subscribers=[
                kind.NotificationWithSubscribersProperty(
                    notification=kind.NotificationProperty(
                        notification_type=sort, threshold=percent, comparison_operator="GREATER_THAN"
                    ),
                    subscribers=[kind.SubscriberProperty(subscription_type="EMAIL", address=mail)],
                )
                for sort, percent in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )
