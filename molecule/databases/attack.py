"""Try with the accounts of backups what no backup needs; prints what was allowed. Run as the account of jobs."""

import psycopg2
import pymysql

WRITES = ("INSERT INTO {0} (body) VALUES ('x')", "UPDATE {0} SET body = 'x'", "DELETE FROM {0}", "DROP TABLE {0}")
MORE = ("CREATE DATABASE mine", "CREATE TABLE mine (n INT)")


def password(name):
    with open(f"/etc/dbfleet/secrets/{name}") as file:
        return file.readline().strip()


def attack(connection, failure, statements):
    connection.autocommit(True) if callable(connection.autocommit) else setattr(connection, "autocommit", True)
    cursor = connection.cursor()
    for statement in statements:
        try:
            cursor.execute(statement)
        except failure as error:
            if not any(word in str(error) for word in ("denied", "must be owner")):
                print(statement, error)
        else:
            print("allowed:", statement)


attack(
    psycopg2.connect(host="127.0.0.1", user="dbfleet", dbname="promptpilot", password=password("postgresql")),
    psycopg2.Error,
    [one.format("app.prompts") for one in WRITES] + [*MORE, "CREATE ROLE mine"],
)
attack(
    pymysql.connect(
        unix_socket="/run/mysqld/mysqld.sock", user="dbfleet's", database="billing_1", password=password("mariadb")
    ),
    pymysql.Error,
    [one.format("invoices") for one in WRITES] + [*MORE, "CREATE USER mine", "SELECT * FROM billingX1.others"],
)
