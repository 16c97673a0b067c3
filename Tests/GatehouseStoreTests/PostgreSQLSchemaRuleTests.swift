// When migrations are applied and which programs work with what there is, on lists made up for it.

import Testing

@testable import GatehouseStore

struct PostgreSQLSchemaRuleTests {
    /// A program that knows as many migrations as there are numbers, each the `compatible` of its own.
    private func rule(_ compatible: Int...) -> PostgreSQLSchemaRule {
        PostgreSQLSchemaRule(
            migrations: compatible.enumerated().map {
                PostgreSQLMigration(version: $0 + 1, compatible: $1, sql: "")
            })
    }

    private func applied(_ compatible: Int...) -> [AppliedMigration] {
        compatible.enumerated().map { AppliedMigration(version: $0 + 1, compatible: $1) }
    }

    @Test func `the server makes the tables, and applies one migration after the other`() {
        let rule = rule(1, 1)
        func verdict(_ applied: [AppliedMigration]) -> PostgreSQLSchemaRule.Verdict {
            rule.verdict(applied: applied, nodes: [], mayMigrate: true)
        }
        #expect(verdict([]) == .apply(version: 1))
        #expect(verdict(applied(1)) == .apply(version: 2))
        #expect(verdict(applied(1, 1)) == .work(SchemaState(version: 2)))
    }

    @Test func `a program works with a newer schema until a migration shuts it out`() {
        for mayMigrate in [true, false] {
            func verdict(_ applied: [AppliedMigration]) -> PostgreSQLSchemaRule.Verdict {
                rule(1, 1).verdict(applied: applied, nodes: [], mayMigrate: mayMigrate)
            }
            #expect(verdict(applied(1, 1, 2)) == .work(SchemaState(version: 3)))
            #expect(verdict(applied(1, 1, 3)) == .refuse(PostgreSQLSchemaRule.newer))
            #expect(verdict(applied(1, 1, 2, 3)) == .refuse(PostgreSQLSchemaRule.newer))
        }
    }

    @Test func `what was taken away before the program's own time is no matter`() {
        let verdict = rule(1, 2, 3).verdict(
            applied: applied(1, 2, 3, 3), nodes: [], mayMigrate: false)
        #expect(verdict == .work(SchemaState(version: 4)))
    }

    @Test func `a migration that adds is applied beside servers of the older release`() {
        let verdict = rule(1, 1).verdict(applied: applied(1), nodes: [1, 2], mayMigrate: true)
        #expect(verdict == .apply(version: 2))
    }

    @Test func `a migration that takes away waits for servers that it would shut out`() {
        let rule = rule(1, 1, 2)
        func verdict(_ nodes: [Int]) -> PostgreSQLSchemaRule.Verdict {
            rule.verdict(applied: applied(1, 1), nodes: nodes, mayMigrate: true)
        }
        #expect(verdict([3, 1]) == .work(SchemaState(version: 2, withheld: 3)))
        #expect(verdict([3, 2]) == .apply(version: 3))
        #expect(verdict([]) == .apply(version: 3))
    }

    @Test func `all that follow one that waits wait with it`() {
        let verdict = rule(1, 2, 3).verdict(applied: applied(1), nodes: [1], mayMigrate: true)
        #expect(verdict == .work(SchemaState(version: 1, withheld: 2)))
    }

    @Test func `a program that needs what comes after one that waits doesn't start`() {
        let rule = rule(1, 2, 2)
        let verdict = rule.verdict(applied: applied(1), nodes: [1], mayMigrate: true)
        #expect(verdict == .refuse(PostgreSQLSchemaRule.waiting))
        #expect(
            rule.verdict(applied: applied(1), nodes: [2], mayMigrate: true) == .apply(version: 2))
    }

    @Test func `a command changes nothing, and works where the server would`() {
        func verdict(
            _ rule: PostgreSQLSchemaRule, _ applied: [AppliedMigration]
        ) -> PostgreSQLSchemaRule.Verdict {
            rule.verdict(applied: applied, nodes: [], mayMigrate: false)
        }
        #expect(verdict(rule(1), []) == .refuse(PostgreSQLSchemaRule.empty))
        #expect(verdict(rule(1, 1), applied(1)) == .refuse(PostgreSQLSchemaRule.older))
        #expect(verdict(rule(1, 2), applied(1)) == .work(SchemaState(version: 1, withheld: 2)))
        #expect(verdict(rule(1, 2, 2), applied(1)) == .refuse(PostgreSQLSchemaRule.older))
        #expect(verdict(rule(1, 2), applied(1, 2)) == .work(SchemaState(version: 2)))
    }

    @Test func `a list with gaps is refused`() {
        for applied in [
            [AppliedMigration(version: 2, compatible: 1)],
            [1, 3].map { AppliedMigration(version: $0, compatible: 1) },
        ] {
            let verdict = rule(1, 1, 1).verdict(applied: applied, nodes: [], mayMigrate: true)
            #expect(verdict == .refuse("the database's list of its migrations has gaps"))
        }
    }

    @Test func `the migrations are counted from one, and none lets an older program back in`() {
        let migrations = PostgreSQLSchema.migrations
        #expect(migrations.map(\.version) == Array(1...migrations.count))
        for migration in migrations {
            #expect((1...migration.version).contains(migration.compatible))
        }
        for (one, next) in zip(migrations, migrations.dropFirst()) {
            #expect(one.compatible <= next.compatible)
        }
    }
}
